package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// callTimeout bounds one call: an operator at 3 a.m. wants an answer or a clear error, not a hanging prompt.
const callTimeout = 10 * time.Second

type options struct {
	address, ca, cert, key, tokenFile, output string
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "surgectl",
		Short:         "See a surgegate and get its parked jobs moving",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	f := root.PersistentFlags()
	f.StringVar(&o.address, "address", "127.0.0.1:7601", "the operator listener of the surgegate")
	f.StringVar(&o.ca, "ca", "", "PEM file of its authorities; turns TLS on")
	f.StringVar(&o.cert, "cert", "", "PEM file of your client certificate")
	f.StringVar(&o.key, "key", "", "PEM file of its private key")
	f.StringVar(&o.tokenFile, "token-file", "", "file with your bearer token")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	root.AddCommand(o.status(), o.parked())
	return root
}

// call connects, runs f with a deadline and closes.
func (o *options) call(ctx context.Context, f func(context.Context, operatorv1.OperatorClient) error) error {
	creds, err := o.credentials()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(o.address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return fmt.Errorf("address %q: %w", o.address, err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if o.tokenFile != "" {
		token, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	if err := f(ctx, operatorv1.NewOperatorClient(conn)); err != nil {
		return fmt.Errorf("%s: %w", o.address, err)
	}
	return nil
}

func (o *options) credentials() (credentials.TransportCredentials, error) {
	if o.ca == "" && o.cert == "" {
		host, _, err := net.SplitHostPort(o.address)
		if err != nil {
			return nil, fmt.Errorf("address %q: write host:port", o.address)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, fmt.Errorf("%s is not loopback: give --ca (and --cert and --key, or --token-file), so that nobody listens in", o.address)
		}
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(cfg), nil
}

// show writes the message as JSON or through text.
func (o *options) show(w io.Writer, m proto.Message, text func(*tabwriter.Writer)) error {
	switch o.output {
	case "json":
		b, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, string(b))
		return err
	case "text":
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		text(t)
		return t.Flush()
	default:
		return fmt.Errorf("output %q: use text or json", o.output)
	}
}

func (o *options) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "The whole state in one answer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd.Context(), func(ctx context.Context, c operatorv1.OperatorClient) error {
				s, err := c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
				if err != nil {
					return err
				}
				return o.show(cmd.OutOrStdout(), s, func(w *tabwriter.Writer) { printStatus(w, s) })
			})
		},
	}
}

func printStatus(w io.Writer, s *operatorv1.GetStatusResponse) {
	q := s.GetQueue()
	fmt.Fprintf(w, "level\t%d %s\n", s.GetBrownoutLevel(), s.GetBrownoutCause())
	if s.GetDraining() {
		fmt.Fprintln(w, "draining\tyes: refuses new work, finishes what it holds")
	}
	fmt.Fprintf(w, "queue\t%d held, %.1f%% of its bound, conservation %d\n", q.GetHeld(), 100*float64(q.GetBytes())/max(1, float64(q.GetMaxBytes())), q.GetConservation())
	if !q.GetAccepting() {
		fmt.Fprintf(w, "not accepting\t%s\n", q.GetNotAcceptingCause())
	}
	fmt.Fprintf(w, "\nlane\twaiting\tleased\tretrying\tparked\toldest\tper second\n")
	for _, l := range s.GetLanes() {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%.1f\n", l.GetLane(), l.GetWaiting(), l.GetLeased(), l.GetRetrying(), l.GetParked(), l.GetOldestWait().AsDuration().Round(time.Second), l.GetRate())
	}
	fmt.Fprintf(w, "\ndownstream\tin flight\tlimit\trate limit\tbreaker\tramp\n")
	for _, d := range s.GetDownstreams() {
		rate := "none"
		if d.GetRateLimit() > 0 {
			rate = fmt.Sprintf("%.0f/s", d.GetRateLimit())
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%.0f%%\n", d.GetDownstream(), d.GetInFlight(), d.GetConcurrencyLimit(), rate, d.GetBreaker(), 100*d.GetRamp())
	}
}

func (o *options) parked() *cobra.Command {
	parked := &cobra.Command{Use: "parked", Short: "Jobs whose tries are used up: list, requeue, give-up"}
	var lane string
	list := &cobra.Command{
		Use:   "list",
		Short: "List parked jobs, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd.Context(), func(ctx context.Context, c operatorv1.OperatorClient) error {
				all := &operatorv1.ListParkedResponse{}
				for token := ""; ; {
					page, err := c.ListParked(ctx, &operatorv1.ListParkedRequest{Lane: lane, PageToken: token, PageSize: 1000})
					if err != nil {
						return err
					}
					all.Jobs = append(all.Jobs, page.GetJobs()...)
					if token = page.GetNextPageToken(); token == "" {
						break
					}
				}
				return o.show(cmd.OutOrStdout(), all, func(w *tabwriter.Writer) {
					if len(all.GetJobs()) == 0 {
						fmt.Fprintln(w, "nothing is parked")
						return
					}
					fmt.Fprintln(w, "job\tlane\tparked at\ttries\tcause")
					for _, j := range all.GetJobs() {
						fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", j.GetJobId(), j.GetLane(), j.GetParkTime().AsTime().Format(time.RFC3339), j.GetAttempts(), j.GetCause())
					}
				})
			})
		},
	}
	list.Flags().StringVar(&lane, "lane", "", "only this lane")
	parked.AddCommand(list,
		o.change("requeue JOB...", "Put parked jobs back in line with fresh tries", "requeued", false,
			func(ctx context.Context, c operatorv1.OperatorClient, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error) {
				r, err := c.RequeueParked(ctx, &operatorv1.RequeueParkedRequest{JobIds: ids, DryRun: dryRun})
				return r.GetResults(), err
			}),
		o.change("give-up JOB...", "End parked jobs for good: their tickets fail", "given up", true,
			func(ctx context.Context, c operatorv1.OperatorClient, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error) {
				r, err := c.GiveUpParked(ctx, &operatorv1.GiveUpParkedRequest{JobIds: ids, DryRun: dryRun})
				return r.GetResults(), err
			}))
	return parked
}

type changeFunc func(ctx context.Context, c operatorv1.OperatorClient, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error)

var errNotFound = errors.New("some of the jobs are not parked")

func (o *options) change(use, short, did string, final bool, f changeFunc) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.RangeArgs(1, 1000),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if final && !yes && !dryRun {
				return errors.New("this cannot be undone: add --yes, or --dry-run to see what it would do")
			}
			return o.call(cmd.Context(), func(ctx context.Context, c operatorv1.OperatorClient) error {
				results, err := f(ctx, c, ids, dryRun)
				if err != nil {
					return err
				}
				if dryRun {
					did = "would be " + did
				}
				missing := false
				for _, r := range results {
					what := did
					if !r.GetFound() {
						what, missing = "not parked", true
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", r.GetJobId(), what)
				}
				if missing {
					return errNotFound
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, change nothing")
	if final {
		cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	}
	return cmd
}
