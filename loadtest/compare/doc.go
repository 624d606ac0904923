// Package compare replays one reset storm once for each arm against a store that really falls over: straight at it, and
// through surgegate, as it is or with other settings. Same people, same clients, same victim; the arms differ in the front
// alone, and each part is a process of its own, as it would be. With its defaults it is `make demo`.
//
//	storm compare ── people, mailbox, live view
//	   ├─ storm victim   (supervised: dies past its memory bound, comes back cold)
//	   └─ storm direct   or   surgegate serve
//
// # The demo's arithmetic
//
// 30 s around the peak of plex-2022 (2 s of quiet, then the devices that were signed out at once come back: 7,500 people
// a second, falling with τ = 60 s), thinned 1:16: about 470 people a second at first and 10,500 in all, with 5,400
// attackers beside them. The victim has 4 workers and takes 21 ms a password: 190 passwords a second at its very best, so
// the people alone are 2.5 times what it can take, before anybody retries, and about 60 s of work with the look-ups. More
// would not drain in time: 80 s of work arriving in 30 s is 2.7 times at most. Measured on two busy cores: through
// surgegate the store is done after 70 s and the last person knows after 82 s; the arm that goes straight to the store is
// cut off at ArmLimit.
//
// # What it promises
//
// Run's Result lists in Broken each promise that a gateway's arm did not keep (an accepted person without a new password,
// a lost or doubled change, a store crash, a gateway that ended). The direct arm is reported as it is.
package compare
