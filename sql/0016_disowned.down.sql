DROP TABLE disowned;
