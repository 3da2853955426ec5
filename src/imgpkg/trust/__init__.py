"""Signatures and attestations: the formats of cosign and sigstore, keys, and the policy that wants them."""
