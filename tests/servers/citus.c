/*
 * A stand-in for Citus: exports what pg_errand uses of it, and commits a transaction on another server as
 * Citus does: in one phase before the local commit, or, when asked to, in two phases around it.
 *
 * The setting citus_standin.server is the connection string of the other server. While a file hold_remote is in
 * the data directory, transactions stay where they are prepared or committed there and not here; while hold_done
 * is, where they are committed on both.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

PG_MODULE_MAGIC;

/* libpq is loaded at run time, so that its headers are not needed. */
static void *(*connect_to)(const char *);
static void *(*execute)(void *, const char *);
static int (*status_of)(void *);
static char *(*error_of)(void *);

static void *connection;
static bool in_transaction;
static bool two_phases;
static bool cancelled;
static char gid[64];

static dlist_node remote_transaction;

#ifdef STANDIN_EXPORTS
#define EXPORT PGDLLEXPORT
#else
#define EXPORT static pg_attribute_unused()
#endif

EXPORT dlist_head InProgressTransactions = DLIST_STATIC_INIT(InProgressTransactions);

EXPORT bool
InCoordinatedTransaction(void)
{
	return in_transaction;
}

EXPORT void
Use2PCForCoordinatedTransaction(void)
{
	two_phases = true;
}

EXPORT bool
MyBackendGotCancelledDueToDeadlock(bool clear)
{
	bool		result = cancelled;

	if (clear)
		cancelled = false;
	return result;
}

static const char *
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value ? value : "";
}

static void
remotely(const char *sql)
{
	void	   *result;

	if (connection == NULL)
	{
		void	   *libpq = dlopen("libpq.so.5", RTLD_NOW | RTLD_GLOBAL);

		if (libpq == NULL)
			elog(ERROR, "%s", dlerror());
		connect_to = dlsym(libpq, "PQconnectdb");
		execute = dlsym(libpq, "PQexec");
		status_of = dlsym(libpq, "PQresultStatus");
		error_of = dlsym(libpq, "PQerrorMessage");
		connection = connect_to(setting("citus_standin.server"));
	}
	result = execute(connection, sql);
	/* PGRES_COMMAND_OK, PGRES_TUPLES_OK */
	if (status_of(result) != 1 && status_of(result) != 2)
		elog(ERROR, "%s: %s", sql, error_of(connection));
}

static void
hold_at(const char *place)
{
	while (access(place, F_OK) == 0)
	{
		if (getppid() == 1)
			_exit(1);
		pg_usleep(10000);
	}
}

/* What Citus's recovery later finds the outcome of a prepared transaction by. */
static void
note_transaction(void)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(gid);

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	SPI_execute_with_args("insert into public.standin_transaction (gid) values ($1)", 1, &type, &value, NULL,
						  false, 0);
	SPI_finish();
	PopActiveSnapshot();
}

static void
end_transaction(void)
{
	in_transaction = false;
	two_phases = false;
	dlist_init(&InProgressTransactions);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!in_transaction)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (two_phases)
			{
				note_transaction();
				remotely(psprintf("prepare transaction '%s'", gid));
			}
			else
				remotely("commit");
			hold_at("hold_remote");
			break;
		case XACT_EVENT_COMMIT:
			if (two_phases)
				execute(connection, psprintf("commit prepared '%s'", gid));
			end_transaction();
			hold_at("hold_done");
			break;
		case XACT_EVENT_ABORT:
			execute(connection, "rollback");
			end_transaction();
			break;
		default:
			break;
	}
}

PG_FUNCTION_INFO_V1(standin_write);
/* Writes a row on the other server, in a transaction that ends with the current one. */
Datum
standin_write(PG_FUNCTION_ARGS)
{
	char	   *label = text_to_cstring(PG_GETARG_TEXT_PP(0));
	static int	count = 0;

	if (!in_transaction)
	{
		remotely("begin");
		in_transaction = true;
		dlist_push_tail(&InProgressTransactions, &remote_transaction);
		snprintf(gid, sizeof(gid), "standin_%d_%d_%ld", MyProcPid, count++, random());
	}
	remotely(psprintf("insert into written values (%s)", quote_literal_cstr(label)));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(standin_deadlock);
/* Cancels this process as the detector of distributed deadlocks does. */
Datum
standin_deadlock(PG_FUNCTION_ARGS)
{
	cancelled = true;
	kill(MyProcPid, SIGINT);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
}

void		_PG_init(void);

void
_PG_init(void)
{
	srandom(MyProcPid);
	RegisterXactCallback(at_transaction_end, NULL);
}
