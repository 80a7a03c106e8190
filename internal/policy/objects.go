package policy

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// objectType is a CEL type over a Go type of ours: what gates can write after
// a dot, and how it is read. The table of them is in vocabulary.go.
type objectType struct {
	name    string // as gates' authors see it in errors and docs: "Finding"
	doc     string
	typ     *types.Type
	members []member
}

// member is one field of an objectType.
type member struct {
	name string
	typ  *types.Type
	doc  string
	get  func(native any) ref.Val
}

// memberOf is a member of a type over T.
type memberOf[T any] struct {
	name string
	typ  *types.Type
	doc  string
	get  func(*T) ref.Val
}

// typeOver makes the objectType of T. Its values are made with wrap.
func typeOver[T any](name, doc string, members ...memberOf[T]) *objectType {
	t := &objectType{name: name, doc: doc, typ: types.NewObjectType(name)}
	for _, m := range members {
		t.members = append(t.members, member{m.name, m.typ, m.doc, func(native any) ref.Val {
			v, ok := native.(*T)
			if !ok {
				return types.NewErr("%s has no member %s", name, m.name)
			}
			return m.get(v)
		}})
	}
	return t
}

// wrap makes a value of the type, which must be over the type native points to.
func (t *objectType) wrap(native any) ref.Val { return object{t.typ, native} }

// wrapAll makes a list of values of the type.
func wrapAll[T any](t *objectType, items []T) ref.Val {
	vals := make([]ref.Val, len(items))
	for i := range items {
		vals[i] = t.wrap(&items[i])
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// object is a CEL value over a pointer to a Go value of ours.
type object struct {
	typ    *types.Type
	native any
}

// ConvertToNative hands out the pointer, where that is what is asked for.
func (o object) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(o.native).AssignableTo(t) {
		return o.native, nil
	}
	return nil, fmt.Errorf("%s cannot be converted to %v", o.typ.TypeName(), t)
}

// ConvertToType converts to the object's own type only.
func (o object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case o.typ:
		return o
	case types.TypeType:
		return o.typ
	}
	return types.NewErr("%s cannot be converted to %s", o.typ.TypeName(), t.TypeName())
}

// Equal: an object is equal to itself alone.
func (o object) Equal(other ref.Val) ref.Val {
	p, ok := other.(object)
	return types.Bool(ok && p.native == o.native)
}

// Type returns the object's CEL type.
func (o object) Type() ref.Type { return o.typ }

// Value returns the pointer.
func (o object) Value() any { return o.native }

// provider adds our object types to those of CEL. Expressions read them; they
// cannot make new ones.
type provider struct {
	types.Provider
	byName map[string]*objectType
}

func newProvider(base types.Provider, ts []*objectType) provider {
	p := provider{base, map[string]*objectType{}}
	for _, t := range ts {
		p.byName[t.name] = t
	}
	return p
}

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if t, ok := p.byName[name]; ok {
		return types.NewTypeTypeWithParam(t.typ), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	t, ok := p.byName[name]
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	names := make([]string, len(t.members))
	for i, m := range t.members {
		names[i] = m.name
	}
	return names, true
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t, ok := p.byName[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	i := slices.IndexFunc(t.members, func(m member) bool { return m.name == field })
	if i < 0 {
		return nil, false
	}
	m := t.members[i]
	return &types.FieldType{
		Type:    m.typ,
		IsSet:   func(any) bool { return true },
		GetFrom: func(native any) (any, error) { return m.get(native), nil },
	}, true
}

func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.byName[name]; ok {
		return types.NewErr("a %s cannot be made in an expression", name)
	}
	return p.Provider.NewValue(name, fields)
}

// textMap is a map of strings whose keys come in byte order: the order of a Go
// map would give other bytes for the same input.
type textMap struct {
	traits.Mapper
	keys []ref.Val
}

func newTextMap(m map[string]string) ref.Val {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	vals := make([]ref.Val, len(keys))
	for i, k := range keys {
		vals[i] = types.String(k)
	}
	return textMap{types.NewStringStringMap(types.DefaultTypeAdapter, m), vals}
}

// Iterator yields the keys in byte order.
func (m textMap) Iterator() traits.Iterator {
	return types.NewRefValList(types.DefaultTypeAdapter, m.keys).Iterator()
}

// newTextList makes a list of strings, or of values of a string type.
func newTextList[S ~string](items []S) ref.Val {
	vals := make([]ref.Val, len(items))
	for i, s := range items {
		vals[i] = types.String(s)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}
