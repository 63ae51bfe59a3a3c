DROP INDEX users_domain_address;
DROP INDEX users_domain_newest;
DROP INDEX users_status_address;
