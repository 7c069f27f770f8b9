"""What the dynamic loader will do: ELF files, search paths, symbols, GPU code inside libraries."""
