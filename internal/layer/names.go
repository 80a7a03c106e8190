package layer

import "strings"

// clean returns name as a path below the root: relative, without empty, "." and
// ".." components. "" is the root. Absolute names stand below the root as well:
// every unpacker of images joins them to it, and ko writes them. up says that
// there was a "..", which readers resolve before or after symbolic links.
func clean(name string) (path string, up bool) {
	name = strings.TrimPrefix(name, "./")
	name = strings.TrimRight(name, "/")
	if isClean(name) {
		return name, false
	}
	var kept []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			up = true
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "/"), up
}

// isClean reports whether name needs no rewriting.
func isClean(name string) bool {
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		switch part := name[start:i]; {
		case part == "" && len(name) > 0, part == ".", part == "..":
			return false
		}
		start = i + 1
	}
	return true
}

// split cuts a clean path before its last component; dir is "" at the root.
func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// join puts a component below a clean directory.
func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
