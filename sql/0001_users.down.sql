DROP TABLE users;
DROP TABLE addresses;
