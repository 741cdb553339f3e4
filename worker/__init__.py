"""The running service: ingest (Kafka to outbox to Redis), the actors (Redis to database and cache) and the dashboard."""
