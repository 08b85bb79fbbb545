-- All rows of 0001 have been taken over.
DROP TABLE value;
DROP TABLE reading;
DROP TABLE series_rows;
