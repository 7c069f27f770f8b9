"""The machine as it is: driver, kernel, libraries of the system, containers, limits, variables."""
