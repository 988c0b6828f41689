"""A disk played in user space: Bulk-Only Transport over FunctionFS, honest or not as told."""
