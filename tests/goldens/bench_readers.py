def readers(golden):
    yield "todo", 1.0, "exact"
