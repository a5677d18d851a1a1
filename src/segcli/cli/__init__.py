"""What the user typed: one thin module a verb. Nothing heavy is imported before a verb runs."""
