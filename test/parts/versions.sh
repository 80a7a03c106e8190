# The versions of programs that the tests bring, in one place: what is listed here was built and used.
# Sourced by the scripts beside it. Module versions carry their v; a variable of the environment wins.

# Debian 12 brings these, through podman.sh and docker.sh: skopeo 1.9.3, podman 4.3.1, buildah 1.28.2, Docker 20.10.24.

# clients.sh
CRANE_VERSION=${CRANE_VERSION:-v0.22.1}
ORAS_VERSION=${ORAS_VERSION:-v1.3.1}
HELM_VERSION=${HELM_VERSION:-v4.3.1}
COSIGN_VERSION=${COSIGN_VERSION:-v3.1.3}
NOTATION_VERSION=${NOTATION_VERSION:-v1.3.2}
SLSA_VERIFIER_VERSION=${SLSA_VERIFIER_VERSION:-v2.7.1}

# s3.sh
VERSITYGW_VERSION=${VERSITYGW_VERSION:-v1.8.0}

# lint.sh
GOLANGCI_VERSION=${GOLANGCI_VERSION:-v2.12.2}

# conformance.sh: the program of the repository's head of 2026-07-16, and the suite of v1.1.1
CONFORMANCE_MAIN_VERSION=${CONFORMANCE_MAIN_VERSION:-v0.0.0-20260716174315-967efdc079b9}
CONFORMANCE_RELEASE_VERSION=${CONFORMANCE_RELEASE_VERSION:-v0.0.0-20250123160558-a139cc423184}

# peers.sh
DISTRIBUTION_VERSION=${DISTRIBUTION_VERSION:-v3.1.2}
TRIVY_VERSION=${TRIVY_VERSION:-v0.74.0}
