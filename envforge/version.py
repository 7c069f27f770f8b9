"""The version of envforge, for those that must not import the package's front."""

__version__ = "0.1.0"
