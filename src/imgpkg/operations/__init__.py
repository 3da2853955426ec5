"""VERBS: one file, one public function."""
