"""Plans: what would be submitted, why, and for how much; and the reviews, policies and saved plans around them."""
