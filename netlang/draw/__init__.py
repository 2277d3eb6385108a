"""What a person looks at: diagrams, derivations and tables. Reads graphs, changes none."""
