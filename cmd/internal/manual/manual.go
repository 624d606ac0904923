// Package manual writes the manual pages of the programs from their commands.
package manual

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/surgegate/surgegate/pkg/version"
)

// Command returns the hidden command `man DIR` of root, for whoever packages the program: it writes a page of section 1 for root
// and for each command below it. SOURCE_DATE_EPOCH is their date where it is set.
func Command(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a folder", Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("write: %s man DIR", root.Name())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o750); err != nil {
				return err
			}
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: root.Name() + " " + version.Current().Version}, args[0])
		},
	}
}
