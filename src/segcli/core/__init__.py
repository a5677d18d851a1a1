"""Plain data that every part shares: what is asked, what is answered, and masks. Needs numpy only."""
