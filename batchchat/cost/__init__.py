"""Money: tokens counted, prices known, a bill estimated before, a budget kept during."""
