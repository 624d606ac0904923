// Package model says how many people come when: the arrival rate of a reset storm, and the storms known from the news.
//
// First attempts only; retries and resends are made by the simulated people (loadtest/people) in answer to what they get.
//
//	λ(t)        = λ_mail + λ_revoke + λ_attack            (λ_scan apart: see below)
//	λ_mail(t)   = N·p·d(t)·[F(t) − F(t−D)]/D              people who open the mailing and reset
//	λ_revoke(t) = N·φ·e^(−t/τ)/τ                          people whose devices were signed out at once
//	λ_attack(t) = a/(1−a) · (λ_mail + λ_revoke)           requests for addresses that are not there
//	λ_scan(t)   = s·N/D  while the mailing lasts          mail scanners that GET links
//
// F is LogNormal(median 4 h, σ 2.0), fitted to five published e-mail-open data sets (24 % in 1 h, 58 % in 6 h, 82 % in
// 24 h): opens, not resets. D is the duration of the mailing, p the share of people who reset, d(t) = 1 + 0.6·cos the time
// of day with its peak at 20 h. Each number is a field of Scenario.
//
// Scanners are in the model but make no calls: a mailed link carries its token in the fragment, which never leaves a
// scanner's HTTP client.
//
// Arrivals turns a window of λ into people by inverting its integral at the times of a unit Poisson process whose gaps are
// common random numbers; thinning divides λ and so samples whole people.
package model
