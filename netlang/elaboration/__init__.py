"""From syntax tree to Graph: definitions applied, shapes inferred, every read proved or guarded."""
