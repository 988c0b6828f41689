"""From a line to a deed, a journal entry and an answer; and from the journal to a plan.  Pure."""
