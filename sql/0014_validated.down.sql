-- Nothing to revert: valid constraints need no change.
SELECT;
