"""The only code that touches the world: processes, files, drivers, solvers, networks."""
