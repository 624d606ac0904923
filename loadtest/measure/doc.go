// Package measure counts what happens to people and calls during one arm of a comparison, and turns it into the Arm that
// reports are made of.
//
// Waiting times count from a person's intended start to the moment at which they were told that their new password is in
// place, less the time that they took themselves to read a mail and to type. They are kept in an HDR histogram (three
// digits, up to one hour), so memory does not grow with the run. The backlog is what the system owes at one moment: links
// promised that have not come, and tickets that are not final; for a front without tickets that is links only, so calls
// inside count for both.
package measure
