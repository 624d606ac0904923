// Package grpcstore puts surgegate before a backend that a platform team has written: a client of
// surgegate.credstore.v1.CredentialStore. NewServer is the other side, a credstore.Store served over gRPC: the
// reference that a backend in another language can be compared with, and the way to serve one that is written in Go.
//
// # Connection
//
// One HTTP/2 connection to each address that the name resolves to, calls spread round-robin, keepalive so that a
// backend that has silently gone is noticed. TLS by default, with the system's roots or CAFile, with a certificate of
// one's own where CertFile and KeyFile are set; Insecure turns it off. gRPC's own retries are off: surgegate decides
// when to try again.
//
// A backend that wants plaintext passwords gets them over TLS or over loopback only; elsewhere Describe and
// SetPasswords fail with credstore.ErrConfig before anything is sent.
//
// # What an answer means
//
//	RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED   credstore.ErrOverloaded
//	UNIMPLEMENTED, UNAUTHENTICATED, PERMISSION_DENIED    credstore.ErrConfig
//	FAILED_PRECONDITION with google.rpc.ErrorInfo,       credstore.ErrConfig; NewServer sends it for a store's ErrConfig
//	domain surgegate, reason STORE_MISCONFIGURED
//	a message above MaxMessageBytes, either way          neither, although gRPC says RESOURCE_EXHAUSTED: a smaller batch
//	                                                     helps and waiting does not
//	the caller's own context                             its error (a deadline also wraps credstore.ErrOverloaded)
//	a result count that is not the item count            an error: the answer says nothing about any item
//	an unspecified or unknown outcome                    RetryItem for that item
//
// Errors hold the code and never the backend's words, as those may name an account; they are in the backend's own log.
//
// # What is not sent
//
// Protobuf strings are UTF-8. An identifier or account id that is not is nobody's: a miss, UnknownAccount, or not
// known, without asking. A password that is not in the form that Describe asked for is RetryItem and is not sent.
package grpcstore
