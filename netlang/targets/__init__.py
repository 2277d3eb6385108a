"""The back ends: each folder turns a Program into something that runs."""
