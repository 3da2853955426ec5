"""Plans of copies as files of JSON lines, which another process runs, in shards if asked."""
