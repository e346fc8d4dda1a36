"""The version of the suite: one number for all its programs."""

VERSION = "0.1.0"
