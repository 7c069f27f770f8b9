"""What of a machine concerns everybody who works on it: processes, disks, caches, servers."""
