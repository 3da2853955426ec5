"""Media types of Docker and OCI (image-spec, media-types.md), and the sets of them that are treated alike."""

from __future__ import annotations

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA_1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_UNCOMPRESSED_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_RESTRICTED_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_RESTRICTED_LAYER_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
# Manifests of artifacts from before OCI 1.1, in which an image manifest has an `artifactType`.
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
ORAS_ARTIFACT = "application/vnd.cncf.oras.artifact.manifest.v1+json"

IMAGES = frozenset({DOCKER_MANIFEST, OCI_MANIFEST})
INDEXES = frozenset({DOCKER_LIST, OCI_INDEX})
# Any other entry of an index is a blob: BuildKit's caches list their layers directly in an index.
MANIFESTS = IMAGES | INDEXES | {DOCKER_SCHEMA_1, DOCKER_SCHEMA_1_SIGNED, OCI_ARTIFACT, ORAS_ARTIFACT}
# Foreign layers of Windows base images; the OCI names are deprecated since image-spec 1.1.
NON_DISTRIBUTABLE = frozenset({DOCKER_FOREIGN_LAYER, OCI_RESTRICTED_LAYER, OCI_RESTRICTED_LAYER_GZIP})
LAYERS = NON_DISTRIBUTABLE | {
    DOCKER_LAYER,
    DOCKER_UNCOMPRESSED_LAYER,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
}

# The types and their order are those of go-containerregistry. Schema 1 is accepted to name it in an error.
MANIFEST_ACCEPT = (
    DOCKER_SCHEMA_1,
    DOCKER_SCHEMA_1_SIGNED,
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    DOCKER_LIST,
    OCI_INDEX,
)
