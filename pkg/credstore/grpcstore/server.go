package grpcstore

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/credstore"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// Server serves a credstore.Store as CredentialStore v1; register it with
// credstorev1.RegisterCredentialStoreServer. Sessions are revoked if the store is a credstore.Revoker too.
type Server struct {
	credstorev1.UnimplementedCredentialStoreServer
	store credstore.Store
}

// NewServer serves store, which stays the caller's to close.
func NewServer(store credstore.Store) *Server { return &Server{store: store} }

// Describe implements credstorev1.CredentialStoreServer.
func (s *Server) Describe(ctx context.Context, _ *credstorev1.DescribeRequest) (*credstorev1.DescribeResponse, error) {
	d, err := s.store.Describe(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &credstorev1.DescribeResponse{
		PasswordForm:   credstorev1.PasswordForm(d.Form),
		MaxLookupBatch: uint32(d.MaxLookupBatch),
		MaxSetBatch:    uint32(d.MaxSetBatch),
		HashSchemes:    d.HashSchemes,
	}
	if _, ok := s.store.(credstore.Revoker); ok {
		answer.MaxRevokeBatch = uint32(d.MaxRevokeBatch)
	}
	return answer, nil
}

// Lookup implements credstorev1.CredentialStoreServer.
func (s *Server) Lookup(ctx context.Context, request *credstorev1.LookupRequest) (*credstorev1.LookupResponse, error) {
	found, err := s.store.Lookup(ctx, request.GetIdentifiers(), request.GetAccountIds())
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &credstorev1.LookupResponse{Results: make([]*credstorev1.LookupResult, len(found))}
	for i, accounts := range found {
		result := &credstorev1.LookupResult{}
		for _, a := range accounts {
			result.Accounts = append(result.Accounts, &credstorev1.Account{
				Id: a.ID, Address: a.Address, Locale: a.Locale, CurrentHash: a.CurrentHash.Reveal(), NotResettable: a.NotResettable,
			})
		}
		answer.Results[i] = result
	}
	return answer, nil
}

// SetPasswords implements credstorev1.CredentialStoreServer.
func (s *Server) SetPasswords(ctx context.Context, request *credstorev1.SetPasswordsRequest) (*credstorev1.SetPasswordsResponse, error) {
	changes := make([]credstore.Change, len(request.GetChanges()))
	for i, c := range request.GetChanges() {
		changes[i] = credstore.Change{
			AccountID: c.GetAccountId(), ChangeID: c.GetChangeId(), Sequence: c.GetSequence(), AcceptTime: c.GetAcceptTime().AsTime(),
			Password: credstore.Secret(c.GetHash() + c.GetPlaintext()), // a oneof: one of them is empty
		}
	}
	results, err := s.store.SetPasswords(ctx, changes)
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &credstorev1.SetPasswordsResponse{Results: make([]*credstorev1.SetPasswordResult, len(results))}
	for i, r := range results {
		answer.Results[i] = &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome(r.Outcome), Detail: r.Detail}
	}
	return answer, nil
}

// RevokeSessions implements credstorev1.CredentialStoreServer.
func (s *Server) RevokeSessions(ctx context.Context, request *credstorev1.RevokeSessionsRequest) (*credstorev1.RevokeSessionsResponse, error) {
	revoker, ok := s.store.(credstore.Revoker)
	if !ok {
		return s.UnimplementedCredentialStoreServer.RevokeSessions(ctx, request)
	}
	revocations := make([]credstore.Revocation, len(request.GetRevocations()))
	for i, r := range request.GetRevocations() {
		revocations[i] = credstore.Revocation{AccountID: r.GetAccountId(), RevocationID: r.GetRevocationId(), SessionsBefore: r.GetSessionsBefore().AsTime()}
	}
	results, err := revoker.RevokeSessions(ctx, revocations)
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &credstorev1.RevokeSessionsResponse{Results: make([]*credstorev1.RevokeSessionsResult, len(results))}
	for i, r := range results {
		answer.Results[i] = &credstorev1.RevokeSessionsResult{Known: r.Known, Ended: uint32(max(r.Ended, 0))}
	}
	return answer, nil
}

// toStatus tells the caller what kind of failure it was, and nothing of what the store said.
func toStatus(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "deadline exceeded")
	case errors.Is(err, credstore.ErrOverloaded):
		return status.Error(codes.ResourceExhausted, "the store is overloaded or away")
	case errors.Is(err, credstore.ErrConfig):
		return misconfigured()
	default:
		return status.Error(codes.Internal, "the store failed")
	}
}

// A FAILED_PRECONDITION with this google.rpc.ErrorInfo is the backend's configuration for certain. One without it may be about
// a single item.
const (
	misconfiguredDomain = "surgegate"
	misconfiguredReason = "STORE_MISCONFIGURED"
)

// misconfigured is credstore.ErrConfig on the wire.
func misconfigured() error {
	s := status.New(codes.FailedPrecondition, "the store is not set up")
	if detailed, err := s.WithDetails(&errdetails.ErrorInfo{Domain: misconfiguredDomain, Reason: misconfiguredReason}); err == nil {
		s = detailed
	}
	return s.Err()
}

// isMisconfigured tells whether an error is that of misconfigured.
func isMisconfigured(err error) bool {
	s := status.Convert(err)
	if s.Code() != codes.FailedPrecondition {
		return false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == misconfiguredDomain && info.GetReason() == misconfiguredReason {
			return true
		}
	}
	return false
}
