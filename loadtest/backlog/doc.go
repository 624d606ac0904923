// Package backlog measures what a standing backlog is worth: surgegate before PostgreSQL with hashes made beforehand,
// beside what a site would write itself, one transaction a reset over its best number of connections.
//
// Hashing is a reset's true price (21 ms of a core) and would be all that shows; so Fill puts completions into the queue
// of a gateway that is not running, already in the apply lane and sealed with its own keys, as they are when the hash
// lane has handed them on. Then the gateway starts and works its line. What has been applied is what the table says.
//
// The gateway finds out while it works, so the rate is taken between 30 % and 95 % of the line. Confirmation mails are made
// and delivered meanwhile, as they are; processor time is that of gateway and server together.
package backlog
