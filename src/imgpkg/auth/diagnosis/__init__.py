"""Why a credential is not the one that was meant: near misses, remedies and fingerprints."""
