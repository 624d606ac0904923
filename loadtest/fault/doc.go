// Package fault is what goes wrong during a storm, and when.
//
//	store-slow F      the store works at F times its speed (0.5: half)
//	store-capacity F  the store has F times its workers, or its knee
//	store-dark        the store stands still: what is inside stays there
//	store-refuse      the store answers every call RESOURCE_EXHAUSTED
//	store-unknown     the store answers every SetPasswords UNKNOWN
//	store-crash       the store's process dies once and is restarted, cold
//	mail-refuse       the mail system refuses every mail with 451
//	mail-rate F       the provider takes F times its rate; in simulations only
//	gateway-kill      the front's process is killed (SIGKILL) once and started again
//	disk-full         the gateway's disk is full
//
// A fault begins At after the storm's first moment and lasts For; what happens once (a crash, a kill) has no end. Faults of
// one kind may not overlap: nobody could say what the second one means. A storm whose actors cannot do a fault (a staging
// system's disk) is refused before it begins.
package fault
