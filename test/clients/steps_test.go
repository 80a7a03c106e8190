package clients

import (
	"os"
	"path/filepath"
	"strings"
)

func crane(r *registry, repository string) string {
	ref := repository + "/crane:1"
	r.run("crane", "push", "--insecure", "--image-refs", "refs", r.layout, ref)
	if strings.Contains(ref, "/dev/") {
		r.judged(ref)
	}
	r.has(r.run("crane", "digest", "--insecure", ref), r.digest)
	r.run("crane", "copy", "--insecure", ref, repository+"/crane:2")
	r.run("crane", "copy", "--insecure", ref, repository+"/crane/other:1") // mounts
	r.has(r.run("crane", "ls", "--insecure", repository+"/crane"), "2")
	r.has(r.run("crane", "catalog", "--insecure", r.host), "/crane/other")
	r.run("crane", "delete", "--insecure", repository+"/crane:2")
	if out := r.run("crane", "ls", "--insecure", repository+"/crane"); strings.Contains(out, "2") {
		r.Errorf("a deleted tag is still listed:\n%s", out)
	}
	r.run("crane", "delete", "--insecure", r.named(repository+"/crane/other"))
	if out, err := r.try("crane", "manifest", "--insecure", r.named(repository+"/crane/other")); err == nil {
		r.Errorf("a deleted manifest is still there:\n%s", out)
	}
	return ref
}

func skopeo(r *registry, repository string) string {
	ref := repository + "/skopeo:1"
	r.run("skopeo", "copy", "--dest-tls-verify=false", "oci:"+r.layout+":demo", "docker://"+ref)
	r.run("skopeo", "copy", "--dest-tls-verify=false", "--format", "v2s2", "oci:"+r.layout+":demo", "docker://"+repository+"/skopeo:docker")
	if strings.Contains(ref, "/dev/") {
		r.judged(ref)
		r.judged(repository + "/skopeo:docker")
	}
	r.has(r.run("skopeo", "inspect", "--tls-verify=false", "docker://"+ref), r.digest)
	r.has(r.run("skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+repository+"/skopeo:docker"), "application/vnd.docker.distribution.manifest.v2+json")
	r.has(r.run("skopeo", "list-tags", "--tls-verify=false", "docker://"+repository+"/skopeo"), `"docker"`)
	r.run("skopeo", "delete", "--tls-verify=false", "docker://"+repository+"/skopeo:docker")
	return ref
}

func podman(r *registry, repository string) string {
	ref := repository + "/podman:1"
	r.run("podman", "import", "--quiet", r.rootTar, ref)
	r.run("podman", "push", "--quiet", "--tls-verify=false", ref)
	r.run("podman", "rmi", "--force", ref)
	return ref
}

func buildah(r *registry, repository string) string {
	ref := repository + "/buildah:1"
	r.write("context/motd", "hello from "+r.Name())
	r.write("context/Containerfile", "FROM scratch\nCOPY motd /etc/motd\n")
	r.run("buildah", "bud", "--quiet", "--isolation", "chroot", "--tag", ref, filepath.Join(r.home, "context"))
	r.run("buildah", "push", "--quiet", "--tls-verify=false", ref)
	r.run("buildah", "rmi", "--force", ref)
	return ref
}

func docker(r *registry, repository string) string {
	ref := repository + "/docker:1"
	r.run("docker", "import", r.rootTar, ref)
	r.run("docker", "push", "--quiet", ref)
	r.run("docker", "rmi", "--force", ref)
	return ref
}

// oras pushes an image with a note about it. Something of no known kind is
// denied in dev, and what is attached to a held image waits with it.
func oras(r *registry, repository string) string {
	ref := repository + "/oras:1"
	r.run("oras", "copy", "--from-oci-layout", "--to-plain-http", r.layout+":demo", ref)
	r.write("note.txt", "all is well")
	r.run("oras", "attach", "--plain-http", "--artifact-type", "application/vnd.test.note", ref, "note.txt:text/plain")
	r.has(r.run("oras", "repo", "tags", "--plain-http", repository+"/oras"), "1")
	r.run("oras", "tag", "--plain-http", ref, "2")
	r.run("oras", "push", "--plain-http", repository+"/oras/thing:1", "--artifact-type", "application/vnd.test.thing", "note.txt:text/plain")
	if !strings.Contains(ref, "/dev/") {
		r.run("oras", "pull", "--plain-http", "--output", r.TempDir(), repository+"/oras/thing:1")
	}
	r.has(r.run("oras", "manifest", "fetch", "--plain-http", "--descriptor", ref), r.digest)
	return ref
}

func helm(r *registry, repository string) string {
	r.write("shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3+build\n")
	r.write("shop/templates/shop.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\n")
	r.run("helm", "package", "shop", "--version", "1.2.3")
	r.run("helm", "push", "--plain-http", "shop-1.2.3.tgz", "oci://"+repository+"/charts")
	ref := repository + "/charts/shop:1.2.3"
	if strings.Contains(ref, "/dev/") {
		r.judged(ref)
	}
	r.has(r.run("helm", "show", "chart", "--plain-http", "oci://"+repository+"/charts/shop", "--version", "1.2.3"), "name: shop")
	return ref
}

// cosign signs what the registry has just taken and may not have judged: as a
// referrer, and as a tag, which is how it was done before.
func cosign(r *registry, repository string) string {
	if _, err := r.try("crane", "version"); err != nil {
		r.Fatal("crane is needed to push what cosign signs; it comes from the same script")
	}
	r.run("crane", "push", "--insecure", r.layout, repository+"/cosign:1")
	image := r.named(repository + "/cosign")
	for _, old := range []string{"cosign.key", "cosign.pub", "signing.json"} {
		os.Remove(filepath.Join(r.home, old)) // of the zone before
	}
	r.run("cosign", "generate-key-pair")
	r.run("cosign", "signing-config", "create", "--out", "signing.json")
	r.run("cosign", "sign", "--yes", "--key", "cosign.key", "--signing-config", "signing.json", "--allow-http-registry", image)
	r.run("cosign", "sign", "--yes", "--key", "cosign.key", "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false", "--allow-http-registry", image)
	r.run("cosign", "verify", "--key", "cosign.pub", "--new-bundle-format=false", "--insecure-ignore-tlog", "--allow-http-registry", image)
	r.write("sbom.json", `{"spdxVersion":"SPDX-2.3"}`)
	r.run("cosign", "attest", "--yes", "--key", "cosign.key", "--signing-config", "signing.json", "--type", "spdxjson", "--predicate", "sbom.json", "--allow-http-registry", image)
	return image
}
