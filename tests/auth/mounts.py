"""Folders in which secrets are mounted, as the kubelet writes and updates them."""

from __future__ import annotations


class Mount:
    """A volume of a Kubernetes secret: names are links through `..data`, which is replaced in one step."""

    def __init__(self, folder, **contents):
        self.folder = folder
        self._version = 0
        folder.mkdir(exist_ok=True)
        self.update(**contents)

    def update(self, **contents):
        """Write the keys into a new folder and let `..data` name it; keys are written `_` for a dot."""
        self._version += 1
        folder = self.folder / f"..{self._version}"
        folder.mkdir()
        for key, text in contents.items():
            name = key.replace("_", ".")
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..data_tmp").symlink_to(folder.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
