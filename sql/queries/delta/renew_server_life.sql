-- Give the server a life where a crash has taken the last: from then on what changes can be followed again.
-- Parameters: none. Index: none, server_life has one row at the most.
SELECT renew_server_life()
