CREATE TABLE tides (height integer);
