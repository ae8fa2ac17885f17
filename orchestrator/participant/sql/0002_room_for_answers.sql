-- A row and its answer are two versions; with room for both on one page no index is written for the second.

ALTER TABLE amends.inbox SET (fillfactor = 40);
