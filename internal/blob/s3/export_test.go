package s3

// SetPage makes listings give n names at a time.
func (s *Store) SetPage(n int) { s.page = n }
