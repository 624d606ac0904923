// Package screen draws a live view on a terminal and reads its keys. storm's live view and surgectl top are drawn with it.
//
//	New ──Paint──► the other screen, no cursor ──Paint──► painted over … ──Close──► the first screen, the last frame on it, the cursor
//
// Frames are on the terminal's other screen, as an editor's are, with wrapping off: on the first one a terminal that becomes
// narrower wraps what is there, at a moment of its own (tmux tells the program up to 250 ms later), and no count of lines leads
// back up. A frame is one write, so that it does not flicker. Who paints cuts lines to the width with Fit, and the frame to the
// height: a line below the last one would be written over it.
//
// Colours are the terminal's own eight, so that dark and light both work. Nothing may be told by colour alone: with NO_COLOR
// in the environment there are none.
//
// Keys need the terminal in raw mode, where Ctrl-C is a key and no signal. Close of Keys gives the mode back; a process that
// is killed with no chance to do so leaves the terminal raw, as an editor would.
//
// Failure rules: a terminal that is gone is no reason to stop what is shown, so errors of the output are dropped. Without a
// terminal there are no keys and OpenKeys says so; the view goes on without.
package screen
