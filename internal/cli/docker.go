package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dockerFile is the file in which docker, podman, crane, oras and others find
// logins.
func (p *program) dockerFile() string {
	if dir := p.vars["DOCKER_CONFIG"]; dir != "" {
		return filepath.Join(dir, "config.json")
	}
	return filepath.Join(p.vars["HOME"], ".docker", "config.json")
}

// writeDocker puts a login into docker's file and leaves all else there as it
// is.
func (p *program) writeDocker(l login) error {
	name := p.dockerFile()
	all, err := readDocker(name)
	if err != nil {
		return err
	}
	return writeDockerFile(name, all, l)
}

// readDocker reads docker's file, as far as it is there.
func readDocker(name string) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading docker's logins: %w", err)
	default:
		if err := json.Unmarshal(b, &all); err != nil {
			return nil, usage("repair "+name+", or log in with: docker login", "reading docker's logins from %s: %v", name, err)
		}
	}
	return all, nil
}

// writeDockerFile writes what was read, with one more login.
func writeDockerFile(name string, all map[string]json.RawMessage, l login) (err error) {
	auths := map[string]json.RawMessage{}
	if raw, ok := all["auths"]; ok {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return usage("repair "+name, "reading auths in %s: %v", name, err)
		}
	}
	entry := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(l.Name + ":" + l.Secret))}
	if auths[l.Host], err = json.Marshal(entry); err != nil {
		return fmt.Errorf("encoding the login: %v", err)
	}
	if all["auths"], err = json.Marshal(auths); err != nil {
		return fmt.Errorf("encoding docker's logins: %v", err)
	}
	out, err := json.MarshalIndent(all, "", "\t")
	if err == nil {
		err = writePrivate(name, append(out, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing docker's logins: %w", err)
	}
	return nil
}
