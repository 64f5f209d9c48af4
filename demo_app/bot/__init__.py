"""The bot: real voters' traffic at a steady rate. Retries nothing and hides nothing."""
