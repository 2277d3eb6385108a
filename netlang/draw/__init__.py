"""What a person looks at: diagrams by Graphviz, LaTeX, tables and reports. Reads graphs, changes none."""
