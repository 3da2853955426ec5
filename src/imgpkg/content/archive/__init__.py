"""imgpkg's tar file: what it lists, and how it is read and written."""
