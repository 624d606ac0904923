package reset

import "fmt"

// Lane is a kind of job.
type Lane uint8

// The lanes, in the order in which a reset passes them. The values are written to disk.
const (
	LaneStart    Lane = 1 // look an identifier or account id up
	LaneMail     Lane = 2 // sign a token, hand a mail off
	LaneHash     Lane = 3 // argon2id in the bounded pool
	LaneApply    Lane = 4 // write to the store
	LaneRevoke   Lane = 5 // end sessions
	LaneCampaign Lane = 6 // bulk resets
)

// Lanes returns every lane in the order in which a reset passes them.
func Lanes() []Lane {
	return []Lane{LaneStart, LaneMail, LaneHash, LaneApply, LaneRevoke, LaneCampaign}
}

// String returns the lane's name as metrics, logs and the operator API use it.
func (l Lane) String() string {
	switch l {
	case LaneStart:
		return "start"
	case LaneMail:
		return "mail"
	case LaneHash:
		return "hash"
	case LaneApply:
		return "apply"
	case LaneRevoke:
		return "revoke"
	case LaneCampaign:
		return "campaign"
	default:
		return fmt.Sprintf("lane(%d)", uint8(l))
	}
}

// ParseLane is the inverse of String.
func ParseLane(name string) (Lane, error) {
	for _, l := range Lanes() {
		if l.String() == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown lane %q: use start, mail, hash, apply, revoke or campaign", name)
}

// Class orders the jobs of a lane: all jobs of a lower class go before any of a higher one.
type Class uint8

// The classes. The values are written to disk.
const (
	ClassInteractive Class = 0 // a person waits for it
	ClassSuspect     Class = 1 // asked by a client that is probably automated
	ClassDeferrable  Class = 2 // confirmations, replacement links, revocations: nobody waits, and brownout level 1 defers them
)

// Classes returns every class, in the order in which they are served.
func Classes() []Class { return []Class{ClassInteractive, ClassSuspect, ClassDeferrable} }

// String returns the class's name.
func (c Class) String() string {
	switch c {
	case ClassInteractive:
		return "interactive"
	case ClassSuspect:
		return "suspect"
	case ClassDeferrable:
		return "deferrable"
	default:
		return fmt.Sprintf("class(%d)", uint8(c))
	}
}
