package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bonded-dev/bonded/internal/lifecycle"
)

// productList is the list of all products. It is there in every copy.
const productList = "all.json"

// maxProduct bounds the file of one product, in bytes: the largest has 100 kB.
const maxProduct = 4 << 20

// products reads the files of the products that are of use, where they are there.
func (f *form) products(dir string) (*text, error) {
	return gather(func(product string) ([]byte, error) {
		file, err := os.Open(filepath.Join(dir, product+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		raw, err := io.ReadAll(io.LimitReader(file, maxProduct+1))
		if err == nil && len(raw) > maxProduct {
			err = fmt.Errorf("it has more than %d bytes", maxProduct)
		}
		return raw, err
	})
}

// products fetches the products that are of use, of those that are published.
func (r *remote) products(ctx context.Context, form form) (*text, error) {
	get := func(name string) ([]byte, error) {
		var buf bytes.Buffer
		f := fetch{remote: r, url: r.base.JoinPath(name + ".json").String(), limit: maxProduct, to: &memory{&buf}}
		_, err := f.run(ctx)
		return buf.Bytes(), err
	}
	raw, err := get("all")
	if err != nil {
		return nil, fmt.Errorf("fetching the list of products: %w", err)
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return nil, fmt.Errorf("reading the list of products: %v", err)
	}
	published := map[string]bool{}
	for _, name := range names {
		published[name] = true
	}
	return gather(func(product string) ([]byte, error) {
		if !published[product] {
			return nil, nil
		}
		return get(product)
	})
}

// gather makes one object of what get returns for each product that is of use; nil
// where it is not there.
func gather(get func(product string) ([]byte, error)) (*text, error) {
	all := map[string]json.RawMessage{}
	for _, product := range lifecycle.Products() {
		raw, err := get(product)
		if err != nil {
			return nil, fmt.Errorf("reading %s.json: %w", product, err)
		}
		if raw == nil {
			continue
		}
		if !json.Valid(raw) {
			return nil, fmt.Errorf("reading %s.json: it is no JSON", product)
		}
		all[product] = raw
	}
	object, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("reading the products: %w", err)
	}
	return &text{ReadCloser: io.NopCloser(bytes.NewReader(object)), size: int64(len(object))}, nil
}
