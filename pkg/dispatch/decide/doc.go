// Package decide is what the work side decides by, without its queue, its downstreams and its goroutines: pure, time and
// draws come in. pkg/dispatch works by it, and a simulator that imports it decides the same in another time.
//
//	how many jobs to ask a permit for    Size
//	what a call costs its lane's share   Cost
//	when a job is tried again            Overloaded
//	what a lane can do                   Meter, Published
//	which mails may be sent              MailBudget
//
// It holds no state but what a Size, a Meter and a MailBudget keep, and cannot fail.
package decide
