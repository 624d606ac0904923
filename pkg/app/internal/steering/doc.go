// Package steering fits the parts of a process to what operators turn (package steer): the work side's lanes, paces and
// breakers, the admission rules, and the brownout level. It decides nothing.
//
// # The level
//
//	signals ─► ladder ─► Level ──held?──► admission and the work side
//	                       ▲ no: what the ladder asks; yes: what is held
//	                Force, Release
//
// The ladder goes on while the level is held, so that what it asks for can be told, and its hold times go on.
//
// # Limits
//
// What is configured and what is overridden are kept apart, so that a reload below an override changes what comes back, and
// nothing that is in force. The identifier's budget is the work side's; the other rules are admission's.
package steering
