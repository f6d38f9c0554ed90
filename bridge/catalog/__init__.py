"""Model manifests and the folders they lie in; nothing here loads a graph."""

from bridge.catalog.manifest import Manifest, load_manifest
from bridge.catalog.repository import Catalog, default_directory
from bridge.catalog.schema import Variant
from bridge.catalog.verify import verify

__all__ = ["Catalog", "Manifest", "Variant", "default_directory", "load_manifest", "verify"]
